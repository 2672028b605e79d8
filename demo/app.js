// The page: four models, each in a worker of its own, loaded when its tab is first shown.
import { sample } from "./sample.js";

const $ = (selector, from = document) => from.querySelector(selector);
const NAMES = ["story", "read", "see", "file"];
const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const size = (n) => (n < 1e6 ? `${number.format(n / 1e3)} kB` : `${number.format(n / 1e6)} MB`);
const time = (ms) => (ms < 1000 ? `${number.format(ms)} ms` : `${number.format(ms / 1000)} s`);

/** A model with its panel. */
class Task {
    constructor(name, view) {
        Object.assign(this, { name, view, panel: $(`#${name}`), facts: {}, asked: 0 });
        this.answer = $(".answer", this.panel);
        view.connect(this);
    }
    show() {
        if (this.worker) return;
        const begun = performance.now();
        this.worker = new Worker(new URL(`${this.name}.js`, import.meta.url), { type: "module" });
        this.worker.onerror = (e) => this.failed(e.message ?? "the worker does not start");
        this.worker.onmessage = ({ data }) => {
            if (data.id !== undefined && data.id !== this.asked) return;
            if (data.kind === "ready") this.ready(data, performance.now() - begun);
            else if (data.kind === "part") this.view.part(this, data.part);
            else if (data.kind === "done") this.done(data.ms);
            else this.failed(data.text);
        };
    }
    ready({ code, weights, model }, ms) {
        this.fact({ code: size(code), weights: size(weights), ready: time(ms), model });
        this.panel.dataset.state = "ready";
        this.view.ready?.(this);
    }
    /** A new question ends the one before. */
    ask(question, transfer = []) {
        this.asked++;
        this.panel.dataset.state = "busy";
        this.answer.classList.remove("failed");
        this.worker.postMessage({ id: this.asked, question }, transfer);
    }
    stop() {
        this.worker.postMessage({ id: ++this.asked });
        this.done();
    }
    done(ms) {
        if (ms !== undefined) this.fact({ answer: this.view.timing?.(ms) ?? time(ms) });
        this.first();
        this.panel.dataset.state = "ready";
        this.view.done?.(this);
    }
    /** Notes when the page had its first answer, in milliseconds from its start. */
    first() {
        document.body.dataset.firstAnswer ??= String(performance.now());
    }
    failed(text) {
        this.panel.dataset.state = "failed";
        this.answer.classList.add("failed");
        this.answer.textContent = text;
    }
    fact(more) {
        Object.assign(this.facts, more);
        if (!this.panel.hidden) this.report();
    }
    report() {
        for (const dd of document.querySelectorAll("[data-fact]")) dd.textContent = this.facts[dd.dataset.fact] ?? "–";
    }
}

const story = {
    connect(task) {
        const form = $("form", task.panel);
        this.form = form;
        form.temperature.oninput = () => { form.shown.value = Number(form.temperature.value).toFixed(1); };
        form.onsubmit = (e) => {
            e.preventDefault();
            if (task.panel.dataset.state === "busy") return task.stop();
            const prompt = form.prompt.value;
            const begin = document.createElement("b");
            begin.textContent = prompt;
            task.answer.replaceChildren(begin);
            task.answer.classList.add("busy");
            this.button().textContent = "Stop";
            this.told = 0;
            const seed = crypto.getRandomValues(new Uint32Array(1))[0];
            task.ask({ prompt, temperature: Number(form.temperature.value), seed });
        };
    },
    button() {
        return $("button", this.form);
    },
    ready() {
        this.button().disabled = false;
    },
    part(task, { text, tokens }) {
        task.first();
        this.told = tokens;
        const { answer } = task;
        const follows = answer.scrollTop + answer.clientHeight > answer.scrollHeight - 40;
        answer.append(text);
        answer.normalize();
        if (follows) answer.scrollTop = answer.scrollHeight;
    },
    timing(ms) {
        return `${time(ms)} · ${number.format((1000 * this.told) / ms)} tokens/s`;
    },
    done(task) {
        task.answer.classList.remove("busy");
        this.button().textContent = "Tell it";
    },
};

/** A file from the button, dropped or pasted, or the sample; kept until the model is there. */
function takesFiles(task, view, take, example) {
    let waiting = null;
    const input = $("input[type=file]", task.panel);
    view.file = async (file) => {
        waiting = file;
        if (task.panel.dataset.state) await take(file);
    };
    view.ready = async () => view.file(waiting ?? (await example()));
    input.onchange = () => { if (input.files[0]) view.file(input.files[0]); };
    $("[name=sample]", task.panel).onclick = async () => view.file(await example());
}

/** The same of pictures, which are shown and sent to the worker. */
function takesPictures(task, view, example) {
    const take = async (file) => {
        let picture;
        try {
            picture = await createImageBitmap(file);
        } catch {
            return task.failed("This file is no picture that the browser can show.");
        }
        const canvas = $("canvas", task.panel);
        [canvas.width, canvas.height] = [picture.width, picture.height];
        canvas.getContext("2d").drawImage(picture, 0, 0);
        task.answer.replaceChildren();
        task.ask(picture, [picture]);
    };
    takesFiles(task, view, take, example);
}

/** A file beside the page. */
const beside = async (name) => new File([await (await fetch(name)).blob()], name);

const read = {
    connect(task) {
        takesPictures(task, this, sample);
    },
    part(task, { boxes, index, text, score }) {
        if (boxes) return this.frame(task, boxes);
        task.first();
        const item = document.createElement("li");
        const sure = document.createElement("small");
        sure.textContent = `${Math.round(100 * score)} %`;
        item.append(text, sure);
        item.value = index + 1;
        task.answer.append(item);
    },
    frame(task, boxes) {
        const canvas = $("canvas", task.panel);
        const pen = canvas.getContext("2d");
        const unit = Math.max(canvas.width, canvas.height) / 500;
        pen.lineWidth = 1.5 * unit;
        pen.strokeStyle = "#ea580c";
        for (const { x, y, width, height } of boxes) pen.strokeRect(x, y, width, height);
        if (!boxes.length) task.answer.textContent = "There is no text in this picture.";
    },
};

/** Share from which a kind is worth a line. */
const LEAST = 5e-4;

/** Kinds with their shares. */
function shares(best) {
    const table = document.createElement("table");
    for (const { description, score } of best.filter((b) => b === best[0] || b.score >= LEAST)) {
        const row = table.insertRow();
        row.insertCell().textContent = description;
        const bar = document.createElement("i");
        bar.style.width = `${100 * score}%`;
        row.insertCell().append(bar);
        row.insertCell().textContent = `${(100 * score).toFixed(1)} %`;
    }
    return table;
}

const see = {
    connect(task) {
        takesPictures(task, this, () => beside("sample.png"));
    },
    part(task, { best }) {
        const title = document.createElement("h2");
        title.textContent = best[0].description;
        task.answer.replaceChildren(title, shares(best));
    },
};

const file = {
    connect(task) {
        const take = async (file) => {
            task.answer.replaceChildren();
            this.name = file.name;
            task.ask(file);
        };
        takesFiles(task, this, take, () => beside("app.js"));
    },
    part(task, { best, sure, bytes }) {
        const title = document.createElement("h2");
        title.textContent = sure ? best[0].description : `Perhaps ${best[0].description}`;
        const about = document.createElement("p");
        about.textContent = [this.name, size(bytes), best[0].group].filter(Boolean).join(" · ");
        task.answer.replaceChildren(title, about, shares(best));
    },
};

const views = { story, read, see, file };
const tasks = Object.fromEntries(NAMES.map((name) => [name, new Task(name, views[name])]));
const shown = () => tasks[NAMES.find((name) => `#${name}` === location.hash) ?? NAMES[0]];

function show() {
    const task = shown();
    for (const name of NAMES) {
        tasks[name].panel.hidden = tasks[name] !== task;
        $(`#tab-${name}`).setAttribute("aria-selected", String(tasks[name] === task));
    }
    task.show();
    task.report();
}
addEventListener("hashchange", show);
show();

const drop = $("#drop");
const wanted = (transfer) => shown().view.file && [...(transfer?.items ?? [])].some((item) => item.kind === "file");
addEventListener("dragover", (e) => {
    if (!wanted(e.dataTransfer)) return;
    e.preventDefault();
    drop.hidden = false;
});
addEventListener("dragleave", (e) => { if (!e.relatedTarget) drop.hidden = true; });
addEventListener("drop", (e) => {
    drop.hidden = true;
    if (!wanted(e.dataTransfer)) return;
    e.preventDefault();
    shown().view.file(e.dataTransfer.files[0]);
});
addEventListener("paste", (e) => { if (wanted(e.clipboardData)) shown().view.file(e.clipboardData.files[0]); });
