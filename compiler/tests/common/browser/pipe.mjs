// Messages through standard input and output: bytes behind their number.
import fs from "node:fs";

function exactly(n) {
    const out = Buffer.from(new ArrayBuffer(n));
    for (let at = 0; at < n; ) {
        const got = fs.readSync(0, out, at, n - at);
        if (got === 0) return null;
        at += got;
    }
    return out;
}

/** The next message; null at the end. */
export function receive() {
    const length = exactly(4);
    return length && exactly(length.readUInt32LE(0));
}

export function send(buffer) {
    const n = Buffer.alloc(4);
    n.writeUInt32LE(buffer.length, 0);
    for (const b of [n, buffer]) for (let at = 0; at < b.length; ) at += fs.writeSync(1, b, at);
}
