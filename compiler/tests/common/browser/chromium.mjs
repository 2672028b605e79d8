// Runs bundles below a folder in Chromium, each in a fresh page of one process: node chromium.mjs FOLDER.
import fs from "node:fs";
import path from "node:path";
import { Browser, serve } from "./devtools.mjs";
import { receive, send } from "./pipe.mjs";

const [folder] = process.argv.slice(2);
const script = fs.readFileSync(new URL("./case.mjs", import.meta.url));
let inputs = [], outputs = [];

async function body(request) {
    const parts = [];
    for await (const part of request) parts.push(part);
    return Buffer.concat(parts);
}

async function answer(request, pathname) {
    const [, kind, index] = /^\/(page|case|input|output)\.(\w+)$/.exec(pathname) ?? [];
    switch (kind) {
        case "page": return "<!doctype html><title>case</title>";
        case "input": return inputs[index];
        case "output": outputs[index] = await body(request); return "";
        default: return undefined;
    }
}

// Served from the folder, so that it has the type of a script.
fs.writeFileSync(path.join(folder, "case.mjs"), script);
const { server, url } = await serve(folder, answer);
const browser = new Browser("chromium", folder);
const page = await browser.page();
for (let bytes = receive(); bytes; bytes = receive()) {
    const request = JSON.parse(bytes);
    inputs = request.inputs.filter((i) => !i.strings).map(() => receive());
    outputs = [];
    request.module = url + path.relative(folder, new URL(request.module).pathname);
    await page.open(`${url}page.html`);
    const head = await page.evaluate(`(async () => {
        const { run } = await import("/case.mjs");
        const input = async (i) => (await fetch("/input." + i)).arrayBuffer();
        const { head, data } = await run(${JSON.stringify(request)}, input);
        for (const [i, body] of data.entries()) await fetch("/output." + i, { method: "POST", body });
        return head;
    })()`).catch((e) => ({ error: String(e) }));
    send(Buffer.from(JSON.stringify(head)));
    for (const output of head.error ? [] : outputs) send(output);
}
await browser.close();
server.close();
