// node workers.mjs MODULE PREFIX THREADS INPUTS: runs a bundle a few times, writes output i to PREFIX.i, prints the dims of
// all outputs and how many kernels threads have shared. Ends by itself: no worker may be left.
import { readFileSync, writeFileSync } from "node:fs";

const [script, prefix, threads, given] = process.argv.slice(2);
const { load, MODEL } = await import(script);
const model = await load({ threads: Number(threads) });
const kinds = { f32: Float32Array, i64: BigInt64Array, i32: Int32Array, u8: Uint8Array };
const [inputs, dims] = [{}, {}];
JSON.parse(given).forEach((input, i) => {
    const port = MODEL.inputs[i];
    const bytes = Uint8Array.from(readFileSync(input.file));
    inputs[port.name] = new kinds[port.dtype](bytes.buffer);
    dims[port.name] = input.dims;
});
let outputs;
const times = [];
for (let i = 0; i < 4; i++) {
    const start = performance.now();
    outputs = model.run(inputs, dims);
    times.push(performance.now() - start);
}
MODEL.outputs.forEach((port, i) => writeFileSync(`${prefix}.${i}`, new Uint8Array(outputs[port.name].data.buffer)));
console.log(MODEL.outputs.flatMap((port) => outputs[port.name].dims).join(" "));
console.log(model.jobs);
console.error(`${threads} threads: ${Math.min(...times).toFixed(1)} ms`);
model.close();
