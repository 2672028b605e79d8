// What the workers have in common: one model each, loaded once, asked again and again.

/** A file beside the page, as bytes. */
export async function bytes(path) {
    const response = await fetch(new URL(path, import.meta.url));
    if (!response.ok) throw new Error(`this page was made without ${path}`);
    return response.arrayBuffer();
}

/** A file beside the page, as JSON. */
export const json = async (path) => JSON.parse(new TextDecoder().decode(await bytes(path)));

/**
 * Loads the bundle `models/NAME/NAME.*`; `module` is the script whose `load` does so, where it is not the model's own.
 * Gives what that gives, and the bytes of code and weights.
 */
export async function bundle(name, module = name) {
    const [wasm, { load }, { MODEL }] = await Promise.all([
        bytes(`models/${name}/${name}.wasm`),
        import(`./models/${name}/${module}.js`),
        import(`./models/${name}/${name}.js`),
    ]);
    return { loaded: await load({ wasm }), code: wasm.byteLength, weights: MODEL.weightsBytes };
}

/** Lets messages in; unlike a timer it does not wait. */
export function breathe() {
    return new Promise((resolve) => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = () => { port1.close(); resolve(); };
        port2.postMessage(null);
    });
}

/**
 * Answers the page. `open` loads and gives `{ run, code, weights, model }`; `run(question, stopped)` yields parts of
 * answers. A new question, or `stop`, ends the one before.
 */
export function serve(open) {
    let newest = 0;
    let before = Promise.resolve();
    const opened = open();
    opened.then(
        ({ code, weights, model }) => postMessage({ kind: "ready", code, weights, model }),
        (e) => postMessage({ kind: "failed", text: String(e.message ?? e) }),
    );
    onmessage = ({ data: { id, question } }) => {
        newest = id;
        if (question === undefined) return;
        before = before.then(async () => {
            try {
                const { run } = await opened;
                const begun = performance.now();
                for await (const part of run(question, () => newest !== id)) postMessage({ kind: "part", id, part });
                postMessage({ kind: "done", id, ms: performance.now() - begun });
            } catch (e) {
                postMessage({ kind: "failed", id, text: String(e.message ?? e) });
            }
        });
    };
}
