// A headless Chromium, spoken to through pipes, and a server of files for it.
import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";

const TYPES = {
    ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css",
    ".json": "application/json", ".wasm": "application/wasm",
};

/** Serves the files below a folder, and what `answer(request, url)` knows: bytes, or a promise of them. */
export async function serve(root, answer = () => undefined) {
    const server = http.createServer(async (request, response) => {
        const { pathname } = new URL(request.url, "http://127.0.0.1");
        const own = await answer(request, pathname);
        if (own !== undefined) return response.end(own);
        const file = path.join(root, decodeURIComponent(pathname.endsWith("/") ? `${pathname}index.html` : pathname));
        fs.readFile(file, (error, bytes) => {
            response.writeHead(error ? 404 : 200, { "content-type": TYPES[path.extname(file)] ?? "application/octet-stream" });
            response.end(bytes);
        });
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    return { server, url: `http://127.0.0.1:${server.address().port}/` };
}

/** The browser's process. It finds no other machine. */
export class Browser {
    constructor(command = "chromium", place = os.tmpdir()) {
        this.folder = fs.mkdtempSync(path.join(place, "chromium-"));
        const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--hide-scrollbars", "--remote-debugging-pipe", `--user-data-dir=${this.folder}`,
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"];
        this.child = spawn(command, flags, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
        [this.to, this.from] = [this.child.stdio[3], this.child.stdio[4]];
        this.waiting = new Map();
        this.listeners = [];
        let rest = "", last = 0;
        this.next = () => ++last;
        this.from.setEncoding("utf8").on("data", (text) => {
            const parts = (rest + text).split("\0");
            rest = parts.pop();
            parts.forEach((part) => this.message(JSON.parse(part)));
        });
        const end = (why) => {
            for (const { reject } of this.waiting.values()) reject(new Error(`${command}: ${why}`));
            this.waiting.clear();
        };
        this.child.on("error", (e) => end(e.message));
        this.child.on("exit", (code) => end(`ended with ${code}`));
        this.to.on("error", (e) => end(e.message));
    }
    message({ id, result, error, method, params, sessionId }) {
        if (id === undefined) return this.listeners.forEach((l) => l(method, params, sessionId));
        const { resolve, reject } = this.waiting.get(id);
        this.waiting.delete(id);
        if (error) reject(new Error(error.message)); else resolve(result);
    }
    send(method, params = {}, sessionId = undefined) {
        return new Promise((resolve, reject) => {
            const id = this.next();
            this.waiting.set(id, { resolve, reject });
            this.to.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
        });
    }
    async page() {
        const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
        const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
        const page = new Page(this, sessionId);
        await Promise.all(["Page", "Runtime", "Log"].map((domain) => page.send(`${domain}.enable`)));
        return page;
    }
    async close() {
        const gone = new Promise((resolve) => this.child.on("exit", resolve));
        await this.send("Browser.close").catch(() => this.child.kill());
        await gone;
        fs.rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
    }
}

/** A tab. What it complains about is in `complaints`. */
export class Page {
    constructor(browser, session) {
        Object.assign(this, { browser, session, complaints: [] });
        browser.listeners.push((method, params, from) => {
            if (from !== session) return;
            if (method === "Runtime.exceptionThrown") this.complaints.push(params.exceptionDetails.exception?.description);
            if (method === "Log.entryAdded" && params.entry.level === "error") this.complaints.push(params.entry.text);
        });
    }
    send(method, params) {
        return this.browser.send(method, params, this.session);
    }
    async open(url) {
        const loaded = new Promise((resolve) => {
            const listener = (method, _, from) => {
                if (from !== this.session || method !== "Page.loadEventFired") return;
                this.browser.listeners.splice(this.browser.listeners.indexOf(listener), 1);
                resolve();
            };
            this.browser.listeners.push(listener);
        });
        await this.send("Page.navigate", { url });
        await loaded;
    }
    async evaluate(expression) {
        const asked = { expression, awaitPromise: true, returnByValue: true };
        const { result, exceptionDetails: e } = await this.send("Runtime.evaluate", asked);
        if (e) throw new Error(e.exception?.description ?? e.text);
        return result.value;
    }
    /** Waits until an expression is true; gives its value. */
    async until(expression, seconds = 60) {
        const end = Date.now() + 1000 * seconds;
        for (;;) {
            const value = await this.evaluate(expression);
            if (value) return value;
            if (Date.now() > end) throw new Error(`${expression}: not in ${seconds} s; ${this.complaints.join("; ")}`);
            await new Promise((resolve) => setTimeout(resolve, 5));
        }
    }
    /** Presses the mouse in the middle of an element, where it must be on top. */
    async click(selector) {
        const quoted = JSON.stringify(selector);
        const [x, y] = await this.evaluate(`(() => {
            const element = document.querySelector(${quoted});
            element.scrollIntoView({ block: "nearest" });
            const { left, top, width, height } = element.getBoundingClientRect();
            const [x, y] = [left + width / 2, top + height / 2];
            const hit = document.elementFromPoint(x, y);
            if (!element.contains(hit)) throw new Error(${quoted} + " is covered by " + hit?.outerHTML.slice(0, 80));
            return [x, y];
        })()`);
        for (const type of ["mousePressed", "mouseReleased"]) {
            await this.send("Input.dispatchMouseEvent", { type, x, y, button: "left", clickCount: 1 });
        }
    }
    /** Chooses a file in an input. */
    async choose(selector, file) {
        const { root } = await this.send("DOM.getDocument");
        const { nodeId } = await this.send("DOM.querySelector", { nodeId: root.nodeId, selector });
        await this.send("DOM.setFileInputFiles", { nodeId, files: [file] });
    }
    async picture(file) {
        const { data } = await this.send("Page.captureScreenshot", { format: "png" });
        fs.writeFileSync(file, Buffer.from(data, "base64"));
    }
}
