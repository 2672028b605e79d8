// What a picture shows: one of a thousand things.
import { RGB, batch, scaled } from "./picture.js";
import { bundle, bytes, serve } from "./worker.js";

/** Width and height that the network looks at. */
const SIDE = 224;

serve(async () => {
    const [{ loaded: model, code, weights }, text] = await Promise.all([bundle("see"), bytes("labels.txt")]);
    const labels = new TextDecoder().decode(text).split("\n");
    async function* run(picture) {
        const whole = { x: 0, y: 0, width: picture.width, height: picture.height };
        const input = batch(scaled(picture, whole, SIDE, SIDE), RGB, Array(3).fill(127 / 255), Array(3).fill(128 / 255));
        const { data } = Object.values(model.run({ input }, { input: [1, 3, SIDE, SIDE] }))[0];
        const most = data.reduce((a, b) => Math.max(a, b));
        const shares = Array.from(data, (v) => Math.exp(v - most));
        const sum = shares.reduce((a, b) => a + b);
        const order = shares.map((_, i) => i).sort((a, b) => shares[b] - shares[a]);
        yield { best: order.slice(0, 5).map((i) => ({ description: labels[i], score: shares[i] / sum })) };
    }
    return { run, code, weights, model: "EfficientNet-Lite0, of bytes" };
});
