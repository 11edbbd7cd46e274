// What a person says, plays and shows, in the form that the engine's thread takes: bytes and samples.

/** A turn `{ text, sound, picture, now, task }` or its words alone. */
export async function readTurn(turn) {
  const { text = "", sound, picture, now = new Date(), task } = typeof turn === "string" ? { text: turn } : turn;
  return {
    text,
    task,
    now: now instanceof Date ? localTime(now) : now,
    ...(sound ? await readSound(sound) : {}),
    ...(picture ? await readPicture(picture) : {}),
  };
}

/** `2026-11-23T14:05`, in this device's zone. */
export function localTime(date) {
  const two = (n) => String(n).padStart(2, "0");
  const day = `${String(date.getFullYear()).padStart(4, "0")}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day}T${two(date.getHours())}:${two(date.getMinutes())}`;
}

async function readSound(sound) {
  if (sound.samples) return { samples: Float32Array.from(sound.samples), rate: sound.rate };
  if (typeof AudioBuffer !== "undefined" && sound instanceof AudioBuffer) return fromAudio(sound);
  const bytes = await bytesOf(sound);
  // WAV goes as it is: what the engine reads is then the same on every device.
  if (starts(bytes, "RIFF") || starts(bytes, "RIFX") || starts(bytes, "RF64")) return { wav: bytes };
  try {
    const context = new OfflineAudioContext(1, 1, 48_000);
    return fromAudio(await context.decodeAudioData(bytes.buffer.slice(0)));
  } catch {
    throw inputError("This sound is of a kind that the browser cannot read; a WAV file always works.");
  }
}

/** The mean of an AudioBuffer's channels. */
function fromAudio(audio) {
  const samples = new Float32Array(audio.length);
  for (let channel = 0; channel < audio.numberOfChannels; channel++) {
    audio.getChannelData(channel).forEach((x, i) => (samples[i] += x / audio.numberOfChannels));
  }
  return { samples, rate: audio.sampleRate };
}

async function readPicture(picture) {
  if (picture.data && picture.width) {
    return { pixels: new Uint8Array(picture.data), width: picture.width, height: picture.height };
  }
  const bytes = await bytesOf(picture);
  const [png, jpeg] = [[0x89, 0x50, 0x4e, 0x47], [0xff, 0xd8, 0xff]];
  if ([png, jpeg].some((first) => first.every((byte, i) => bytes[i] === byte))) return { picture: bytes };
  try {
    const bitmap = await createImageBitmap(new Blob([bytes]));
    // Far more than the model sees; it averages areas, so that less is not worse.
    const scale = Math.min(1, 1024 / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.drawImage(bitmap, 0, 0, width, height);
    return { pixels: new Uint8Array(context.getImageData(0, 0, width, height).data), width, height };
  } catch {
    throw inputError("This picture is of a kind that the browser cannot read; PNG and JPEG always work.");
  }
}

/** The bytes of a Blob, a buffer or a view. */
export async function bytesOf(source) {
  if (source instanceof Blob) return new Uint8Array(await source.arrayBuffer());
  if (source instanceof ArrayBuffer) return new Uint8Array(source.slice(0));
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength).slice();
  throw inputError("A file has to be a Blob, a File or bytes.");
}

const starts = (bytes, text) => [...text].every((letter, i) => bytes[i] === letter.charCodeAt(0));

function inputError(message) {
  return Object.assign(new Error(message), { code: "input" });
}
