// The microphone, as a WAV file: what is sent is what can be played back first.

export class Recorder {
  #stream = null;
  #context = null;
  #chunks = [];

  get running() {
    return this.#context !== null;
  }

  /** Starts to record; `onTime` hears how long. An error says why not. */
  async start(onTime) {
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    } catch (error) {
      throw new Error(why(error, "microphone"));
    }
    this.#chunks = [];
    const context = new AudioContext();
    try {
      await context.audioWorklet.addModule(new URL("./recorder-worklet.js", import.meta.url));
    } catch (error) {
      this.#stream.getTracks().forEach((track) => track.stop());
      context.close();
      throw new Error(why(error, "microphone"));
    }
    this.#context = context;
    const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0 });
    let samples = 0;
    tap.port.onmessage = ({ data }) => {
      this.#chunks.push(data);
      samples += data.length;
      onTime(samples / context.sampleRate);
    };
    context.createMediaStreamSource(this.#stream).connect(tap);
    // A microphone that is pulled out ends the recording's track.
    this.#stream.getAudioTracks()[0].onended = () => onTime(Infinity);
  }

  /** Ends it. Gives the sound as a file, or null when there is none. */
  stop() {
    const rate = this.#context.sampleRate;
    this.#stream.getTracks().forEach((track) => track.stop());
    this.#context.close();
    this.#context = null;
    const length = this.#chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    return length > 0 ? new File([wav(this.#chunks, length, rate)], "recording.wav", { type: "audio/wav" }) : null;
  }
}

/** Why a microphone or a camera cannot be used, for people. */
export function why(error, what) {
  const reasons = {
    NotAllowedError: `The browser does not let this page use the ${what}. Allow it in the site's settings, or pick a file.`,
    NotFoundError: `There is no ${what} here. Pick a file.`,
    NotReadableError: `Another program uses the ${what}. Close it, or pick a file.`,
  };
  return reasons[error.name] ?? `The ${what} cannot be used: ${error.message}`;
}

/** A WAV file of 16 bits, one channel. */
function wav(chunks, length, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * length, true);
  let at = 44;
  for (const chunk of chunks) {
    for (const x of chunk) {
      view.setInt16(at, Math.round(Math.max(-1, Math.min(1, x)) * 32767), true);
      at += 2;
    }
  }
  return view.buffer;
}
