// A picture with text to read, drawn here: the page needs no picture file.

const LINES = [
    ["700 44px", "#7c2d12", "COFFEE AND CODE", 70, 96],
    ["italic 26px", "#57534e", "open daily from 7:30", 72, 140],
    ["500 30px", "#292524", "Espresso", 72, 222],
    ["500 30px", "#292524", "2.40", 560, 222],
    ["500 30px", "#292524", "Flat white", 72, 272],
    ["500 30px", "#292524", "3.80", 560, 272],
    ["500 30px", "#292524", "Cinnamon roll", 72, 322],
    ["500 30px", "#292524", "4.25", 560, 322],
];

/** Gives the picture as a blob. */
export function sample() {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [720, 400];
    const pen = canvas.getContext("2d");
    const paper = pen.createLinearGradient(0, 0, 720, 400);
    paper.addColorStop(0, "#fef7ed");
    paper.addColorStop(1, "#f3dfc4");
    pen.fillStyle = paper;
    pen.fillRect(0, 0, 720, 400);
    for (const [font, color, text, x, y] of LINES) {
        pen.font = `${font} "Liberation Sans", "DejaVu Sans", Arial, sans-serif`;
        pen.fillStyle = color;
        pen.fillText(text, x, y);
    }
    pen.strokeStyle = "#c2a07a";
    pen.strokeRect(24.5, 24.5, 671, 351);
    return new Promise((resolve) => canvas.toBlob(resolve));
}
