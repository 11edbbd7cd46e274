// Passes the microphone's samples on in pieces of a tenth of a second or so.

const PIECE = 4096;

class Tap extends AudioWorkletProcessor {
  #piece = new Float32Array(PIECE);
  #filled = 0;

  process([[channel]]) {
    if (!channel) return true;
    for (const x of channel) {
      this.#piece[this.#filled++] = x;
      if (this.#filled === PIECE) {
        this.port.postMessage(this.#piece.slice());
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("tap", Tap);
