// One load and run of a bundle; the same in Node.js and in a browser.

const ARRAYS = {
    i8: Int8Array, u16: Uint16Array, i16: Int16Array, u32: Uint32Array, i32: Int32Array, u64: BigUint64Array,
    i64: BigInt64Array, f32: Float32Array, f64: Float64Array, f16: Uint16Array, bf16: Uint16Array,
    c64: Float32Array, c128: Float64Array,
};

/**
 * Runs `{ module, capacity, inputs }`; `bytes(i)` gives the bytes of the i-th input that has some. Gives `head`, which is
 * `{ outputs }` or `{ error }`, and the data of outputs that are no texts.
 */
export async function run(request, bytes) {
    const inputs = {}, dims = {};
    let next = 0;
    for (const { name, dtype, shape, strings } of request.inputs) {
        dims[name] = shape;
        inputs[name] = strings ?? new (ARRAYS[dtype] ?? Uint8Array)(await bytes(next++));
    }
    try {
        const { load, MODEL } = await import(request.module);
        const model = await load();
        const states = MODEL.states ? model.states(request.capacity) : undefined;
        const got = model.run(inputs, dims, states);
        const all = MODEL.outputs.map((port) => got[port.name]);
        const heads = all.map(({ data, dims }) => ({ dims, strings: Array.isArray(data) ? data : null }));
        return { head: { outputs: heads }, data: all.map((o) => o.data).filter((data) => !Array.isArray(data)) };
    } catch (e) {
        return { head: { error: String(e) }, data: [] };
    }
}
