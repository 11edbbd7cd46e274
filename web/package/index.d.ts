/** Lichen in a page: a small language model that runs in a thread of the page's own, on WebGPU or the CPU. */

/** A sound: a file (WAV, or what the browser decodes), decoded audio, or samples of one channel at full scale 1. */
export type Sound = Blob | ArrayBuffer | ArrayBufferView | AudioBuffer | { samples: ArrayLike<number>; rate: number };

/** A picture: a file (PNG, JPEG, or what the browser decodes) or the pixels of a canvas. */
export type Picture = Blob | ArrayBuffer | ArrayBufferView | ImageData;

/** What a person says, plays and shows. */
export interface Turn {
  text?: string;
  sound?: Sound;
  picture?: Picture;
  /** When it is said, in local time, such as `2026-11-23T14:05`; `null` to leave it out. Now by default. */
  now?: Date | string | null;
  /** Name of the task that the answer is for, as in training. */
  task?: string;
}

export interface AnswerOptions {
  /** 0, the default, always takes the most likely token. */
  temperature?: number;
  topK?: number;
  topP?: number;
  repeatPenalty?: number;
  seed?: number;
  /** Most tokens of the answer; 256 by default. */
  maxTokens?: number;
  /** Whether to note which sections the turn wakes. */
  routes?: boolean;
  /** Stops the answer; what was said stays part of the conversation. */
  signal?: AbortSignal;
}

/** What the model would do. Nothing is ever done by this package. */
export interface Action {
  name: string;
  arguments: Record<string, string>;
  /** Times among the arguments against the moment of the turn, such as `2026-11-24T06:30`. */
  resolved?: Record<string, string>;
}

/** What a row of a route was. */
export interface Row {
  kind: "word" | "sound" | "picture" | "mark";
  text: string;
}

/** For each layer a token's sections with their gates: `[id, gate, id, gate, ..]`. */
export type Picks = number[][];

/** Which sections the rows of an input woke. */
export interface Route {
  rows: Row[];
  /** By row. */
  picks: Picks[];
}

export interface Comparison {
  a: Route;
  b: Route;
  /** For each layer how much each section was woken by `a` and by `b`. */
  heat: [number[], number[]][];
  /** Overlap of the sets of woken sections, 0 to 1, mean over layers. */
  jaccard: number;
  /** The same of how much each was woken. */
  weighted_jaccard: number;
}

export type AnswerEvent =
  /** The turn was read. */
  | { type: "prompt"; tokens: number; seconds: number; route?: Route }
  /** A token of the answer; some complete a piece of text or an action, some neither. */
  | { type: "token"; id?: number; text?: string; action?: Action; route?: { row: Row; picks: Picks } }
  /** The device was lost: what came of this answer is void, it starts again. */
  | { type: "restart"; reason: string; device: Device }
  | Answer;

/** The last event of an answer. */
export interface Answer {
  type: "end";
  stop: "end" | "length" | "stopped";
  text: string;
  actions: Action[];
  tokens: number;
  /** Whether the answer took note of something that was told. */
  noted: boolean;
  promptTokens: number;
  promptSeconds: number;
  firstTokenSeconds: number | null;
  seconds: number;
  /** On a GPU, where routes do not come token by token. */
  route: Route | null;
}

export interface Device {
  name: string;
  gpu: boolean;
  software: boolean;
  adapter?: string;
  kind?: string;
  limits?: Record<string, number>;
  f16?: boolean;
  timestamps?: boolean;
  subgroup?: number;
}

export interface Info {
  model: {
    id: string;
    /** The model whose lessons this one opens: itself, or the one that it grew from. */
    lineage: string;
    about: string;
    weights: number;
    active_weights: number;
    layers: number;
    width: number;
    /** Routed sections of a layer, and how many of them a token wakes. */
    sections: number;
    picks: number;
    neurons: number;
    active_section_share: number;
    vocabulary: number;
    storage: string;
    senses: boolean;
    learns: boolean;
    /** What each action that it can write does. */
    actions: Record<string, string>;
    bytes: number;
    sha256?: string;
    /** Whether the next start needs no network. */
    stored: boolean;
  };
  device: Device;
  bytes_per_token: number;
  resident_bytes: number;
  /** What a person should know: why the CPU was taken, why the model could not be stored. */
  notes: string[];
  seconds: number;
  build: string;
}

export type Progress =
  | { stage: "model"; loaded: number; total: number }
  | { stage: "check"; tested: number }
  | { stage: "device"; device: string };

export interface CreateOptions {
  /** Address of a manifest `{file, bytes, sha256}`, `model.json` beside the page by default; or a model file. */
  model?: string | URL | Blob | ArrayBuffer | ArrayBufferView;
  /** `auto`, the default, takes a hardware GPU that passes the self-test, else the CPU. */
  device?: "auto" | "gpu" | "cpu";
  /** A conversation to go on with, from `state()`. */
  state?: Uint8Array;
  onProgress?(progress: Progress): void;
  /** The device was lost or the engine broke down; it is being made anew. */
  onRecover?(reason: Error): void;
  /** Something was learned or taken back, here or in another tab. */
  onLessons?(): void;
}

/** What is taught: a statement, an answer to a question, what was meant by something that was asked, or what something is
 * called that is seen or heard. */
export type Teaching =
  | string
  | { ask: string; answer: string }
  | { asked: string; said: string }
  | { name: string; picture: Picture }
  | { name: string; sound: Sound };

export interface LessonProgress {
  phase: "preparing" | "hearing" | "asking" | "answering" | "choosing" | "training" | "checking";
  /** Of this phase, 0 to 1. */
  share: number;
}

export interface Lesson {
  id: number;
  /** Seconds since 1970. */
  created: number;
  /** What was said; null where that is not kept. */
  said: string | null;
  bytes: number;
  replaces: number | null;
  replaced_by: number | null;
  /** Other lessons for which one section serves together with this one (`lichen consolidate`). */
  shares_with: number[];
  receipt: {
    frames: number;
    guards: number;
    /** Nats a token. */
    loss_before: number;
    loss_after: number;
    drift: number;
    checked: number;
    passed: number;
  };
}

/** A lesson that was just learned, and the seconds that it and preparing for it took. */
export interface Learned extends Lesson {
  seconds: number;
  prepared: number;
}

export type Imported = { added: number[]; known: number[] } | { model: string; texts: string[]; untold: number };

/** Errors carry a code: `input`, `model`, `network`, `memory`, `device`, `state`, `lessons`, `refused` (a lesson that does
 * not take), `stopped`, `full`, `lost`, `crash`, `closed` or `engine`. */
export interface LichenError extends Error {
  code: string;
}

export interface Lichen {
  readonly info: Info;
  /** Answers a turn. Leaving the loop stops the answer. */
  generate(turn: string | Turn, options?: AnswerOptions): AsyncGenerator<AnswerEvent, void, void>;
  see(picture: Picture, text?: string, options?: AnswerOptions): AsyncGenerator<AnswerEvent, void, void>;
  hear(sound: Sound, text?: string, options?: AnswerOptions): AsyncGenerator<AnswerEvent, void, void>;
  route(turn: string | Turn): Promise<Route>;
  compare(a: string | Turn, b: string | Turn): Promise<Comparison>;
  /** Writes a lesson into sections that this device keeps. Answers may be asked for meanwhile. */
  learn(teaching: Teaching, options?: { signal?: AbortSignal; onProgress?(progress: LessonProgress): void }): Promise<Learned>;
  lessons(): Promise<Lesson[]>;
  undo(id: number): Promise<{ again: number | null }>;
  clearMemory(): Promise<number>;
  eraseTexts(): Promise<number>;
  exportMemory(options?: { texts?: boolean }): Promise<Uint8Array>;
  importMemory(file: Blob | ArrayBuffer | ArrayBufferView): Promise<Imported>;
  forget(): Promise<void>;
  state(): Uint8Array | null;
  restore(state: Uint8Array): Promise<void>;
  memory(): Promise<{ wasm: number; gpu: number }>;
  lose(): Promise<boolean>;
  close(): void;
}

export interface KernelReport {
  kernel: string;
  variant: string;
  cases: number;
  worst_error: number;
  ok: boolean;
  failure: string | null;
}

export function create(options?: CreateOptions): Promise<Lichen>;
export function selftest(device: "cpu" | "gpu", onReport?: (report: KernelReport) => void): Promise<string>;
