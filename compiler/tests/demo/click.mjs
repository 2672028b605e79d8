// Opens the demo page in Chromium and uses it like a visitor: node click.mjs PAGE PICTURES FILE. Prints what it saw.
import path from "node:path";
import { Browser, serve } from "../common/browser/devtools.mjs";

const [folder, pictures, file] = process.argv.slice(2);
const { server, url } = await serve(folder);
const browser = new Browser();
const page = await browser.page();
const view = { width: 1080, height: 780, deviceScaleFactor: 1, mobile: false };
await page.send("Emulation.setDeviceMetricsOverride", view);
const shot = (name) => page.picture(path.join(pictures, `${name}.png`));
const state = (name) => `document.querySelector("#${name}").dataset.state`;
const text = (selector) => page.evaluate(`document.querySelector("${selector}").innerText`);
const facts = () => page.evaluate(`Object.fromEntries(Array.from(document.querySelectorAll("[data-fact]"),
    (e) => [e.dataset.fact, e.innerText]))`);
const ready = (name) => page.until(`${state(name)} === "ready" && Object.keys(document.body.dataset).length`);

/** Opens a tab of the page anew; milliseconds from then to its first answer, the best of some tries. */
async function firstAnswer(name, act = async () => {}) {
    let best = Infinity;
    for (let i = 0; i < 4; i++) {
        await page.open("about:blank");
        await page.open(`${url}#${name}`);
        await act();
        best = Math.min(best, await page.until("Number(document.body.dataset.firstAnswer)"));
    }
    await ready(name);
    return best;
}
const tell = async () => {
    await page.until(`${state("story")} === "ready"`);
    await page.evaluate(`(() => { const t = document.querySelector("[name=temperature]"); t.value = 0; t.oninput(); })()`);
    await page.click("#story button");
};

try {
    const seen = { first: {} };
    seen.first.story = await firstAnswer("story", tell);
    seen.story = await text("#story .answer");
    seen.storyFacts = await facts();
    await shot("story");
    seen.first.read = await firstAnswer("read");
    seen.lines = await page.evaluate(`Array.from(document.querySelectorAll("#read li"), (e) => e.firstChild.data)`);
    seen.readFacts = await facts();
    await shot("read");
    seen.first.see = await firstAnswer("see");
    seen.thing = await text("#see h2");
    seen.seeFacts = await facts();
    await shot("see");
    seen.first.file = await firstAnswer("file");
    seen.program = await text("#file h2");
    seen.fileFacts = await facts();
    await page.choose("#file input[type=file]", file);
    await page.until(`document.querySelector("#file .answer p")?.innerText.includes("${path.basename(file)}")`);
    seen.picture = await text("#file h2");
    await shot("file");
    // Nothing is there any more but the page: what is loaded goes on, in the light and in the dark.
    await page.click("#tab-story");
    await page.until(`${state("story")} === "ready"`);
    server.closeAllConnections();
    server.close();
    await page.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: "dark" }] });
    await page.evaluate(`document.querySelector("[name=prompt]").value = "The dog"`);
    await tell();
    await page.until(`${state("story")} === "busy"`);
    await page.click("#story button");
    await page.until(`${state("story")} === "ready"`);
    seen.stopped = await text("#story .answer");
    await tell();
    await ready("story");
    await page.until(`document.querySelector("#story button").innerText === "Tell it"`);
    seen.offline = await text("#story .answer");
    await shot("dark");
    seen.complaints = page.complaints;
    console.log(JSON.stringify(seen));
} finally {
    await browser.close();
    server.close();
}
