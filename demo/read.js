// Text in a picture: one model finds where it is, another one reads it line by line.
import { breathe, bundle, json, serve } from "./worker.js";
import { BGR, batch, scaled } from "./picture.js";
import { boxes, spell } from "./text.js";

/** Longest side that the finder looks at, and what its sides are multiples of. */
const SIDE = 960;
const GRID = 32;
/** Height and longest length of a line, as the reader sees it. */
const HEIGHT = 48;
const LENGTH = 960;

serve(async () => {
    const [finder, reader, about] = await Promise.all([
        bundle("find"), bundle("read"), json("models/read/manifest.json"),
    ]);
    const alphabet = ["", ...about.metadata.character.split("\n"), " "];

    function find(picture) {
        const whole = { x: 0, y: 0, width: picture.width, height: picture.height };
        const scale = Math.min(1, SIDE / Math.max(picture.width, picture.height));
        const fit = (n) => Math.min(SIDE, Math.max(GRID, Math.round((n * scale) / GRID) * GRID));
        const [w, h] = [fit(picture.width), fit(picture.height)];
        const x = batch(scaled(picture, whole, w, h), BGR, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        const { data } = Object.values(finder.loaded.run({ x }, { x: [1, 3, h, w] }))[0];
        return boxes(data, w, h, picture.width / w, picture.height / h);
    }
    function read(picture, box) {
        const w = Math.min(LENGTH, Math.max(16, Math.round((HEIGHT * box.width) / box.height)));
        const x = batch(scaled(picture, box, w, HEIGHT), BGR, [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]);
        const { data, dims } = Object.values(reader.loaded.run({ x }, { x: [1, 3, HEIGHT, w] }))[0];
        return spell(data, dims[1], dims[2], alphabet);
    }
    async function* run(picture, stopped) {
        const found = find(picture);
        yield { boxes: found };
        for (const [index, box] of found.entries()) {
            await breathe();
            if (stopped()) return;
            yield { index, ...read(picture, box) };
        }
    }
    const sum = (key) => finder[key] + reader[key];
    return { run, code: sum("code"), weights: sum("weights"), model: "PP-OCRv4, two networks" };
});
