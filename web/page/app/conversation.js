// The conversation over reloads: what was said and the model's state, in the browser's own storage, until a new chat
// begins. Where nothing can be stored, a reload begins a new one.

const DATABASE = "lichen-page";
const STORE = "conversation";

function open() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

async function act(mode, work) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

export class Conversation {
  #model = null;
  #turns = [];

  /** What was said with this model before, `{ turns, state }`; null where there is nothing. */
  async recall(model) {
    this.#model = model;
    this.#turns = [];
    const kept = await act("readonly", (store) => store.get(model)).catch(() => null);
    this.#turns = kept?.turns ?? [];
    return kept ?? null;
  }

  /** A turn and its answer are over. Pictures and sounds are not kept, only that there were some. */
  keep({ text, picture, sound }, answer, state) {
    const shown = [picture && `(picture: ${picture.name})`, sound && `(sound: ${sound.name})`].filter(Boolean);
    this.#turns.push({ said: [...shown, text].filter(Boolean).join(" "), ...answer });
    const kept = { turns: this.#turns, state };
    return act("readwrite", (store) => store.put(kept, this.#model)).catch(() => {});
  }

  forget() {
    this.#turns = [];
    return act("readwrite", (store) => store.delete(this.#model)).catch(() => {});
  }
}
