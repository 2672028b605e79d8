// Pictures as networks take them.

/** A part of a picture at another size. */
export function scaled(picture, { x, y, width, height }, w, h) {
    const pen = new OffscreenCanvas(w, h).getContext("2d", { willReadFrequently: true });
    // See-through parts are white.
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, w, h);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(picture, x, y, width, height, 0, 0, w, h);
    return pen.getImageData(0, 0, w, h);
}

/** Which of red, green and blue comes first, second and third. */
export const RGB = [0, 1, 2];
export const BGR = [2, 1, 0];

/** Pixels as `[1, 3, height, width]`, each channel less its mean and over its deviation. */
export function batch({ data, width, height }, order, means, deviations) {
    const size = width * height;
    const out = new Float32Array(3 * size);
    for (let c = 0; c < 3; c++) {
        const [factor, start] = [1 / (255 * deviations[c]), means[c] / deviations[c]];
        for (let i = 0, from = order[c]; i < size; i++, from += 4) out[c * size + i] = data[from] * factor - start;
    }
    return out;
}
