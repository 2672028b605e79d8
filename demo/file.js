// What kind of file some bytes are.
import { bundle, json, serve } from "./worker.js";

const HALF = 1024;
const BLOCK = 4096;
const NOTHING = 256;
const isSpace = (b) => b === 32 || (b >= 9 && b <= 13);

/** The first and the last bytes of a file, without blank space round them, as the model was trained on them. */
export function features(head, tail) {
    const out = new Int32Array(2 * HALF).fill(NOTHING);
    let from = 0, to = tail.length;
    while (from < head.length && isSpace(head[from])) from++;
    while (to > 0 && isSpace(tail[to - 1])) to--;
    out.set(head.subarray(from, from + HALF));
    const last = tail.subarray(Math.max(0, to - HALF), to);
    out.set(last, 2 * HALF - last.length);
    return out;
}

serve(async () => {
    const [{ loaded: model, code, weights }, kinds] = await Promise.all([bundle("file"), json("magika.json")]);
    async function* run(file) {
        const part = async (from, to) => new Uint8Array(await file.slice(from, to).arrayBuffer());
        const tail = Math.max(0, file.size - BLOCK);
        const bytes = features(await part(0, BLOCK), await part(tail, file.size));
        const scores = model.run({ bytes }, { bytes: [1, bytes.length] }).target_label.data;
        const order = Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a]);
        const best = order.slice(0, 5).map((i) => {
            const [label, description, group] = kinds.labels[i];
            return { label, description, group, score: scores[i] };
        });
        const sure = best[0].score >= (kinds.thresholds[best[0].label] ?? kinds.otherwise);
        yield { best, sure, bytes: file.size };
    }
    return { run, code, weights, model: "Magika 3.3" };
});
