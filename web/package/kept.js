// What was learned, as the browser keeps it: the entries `[table, key, bytes]` of each model's memory in IndexedDB. A
// change is one transaction, all of it or nothing, and is only taken from whoever knows what is kept: of two tabs the
// second first has to take in what the other did.

const DATABASE = "lichen";
const ENTRIES = "entries";
const VERSIONS = "versions";

/** What is kept is not what the change was made from. */
export const CONFLICT = "conflict";

export class Kept {
  #database;
  #model;

  constructor(database, model) {
    this.#database = database;
    this.#model = model;
  }

  /** The entries that are kept of a model's memory. */
  static async open(model) {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore(ENTRIES);
      opening.result.createObjectStore(VERSIONS);
    };
    const database = await done(opening);
    // Another tab with a newer page may change the layout.
    database.onversionchange = () => database.close();
    return new Kept(database, model);
  }

  /** How often it was changed. */
  async version() {
    const transaction = this.#database.transaction(VERSIONS, "readonly");
    return (await done(transaction.objectStore(VERSIONS).get(this.#model))) ?? 0;
  }

  /** All of it, `{ entries, version }`, as it was at one moment. */
  async load() {
    const transaction = this.#database.transaction([ENTRIES, VERSIONS], "readonly");
    const [keys, values, version] = await Promise.all([
      done(transaction.objectStore(ENTRIES).getAllKeys(this.#range())),
      done(transaction.objectStore(ENTRIES).getAll(this.#range())),
      done(transaction.objectStore(VERSIONS).get(this.#model)),
    ]);
    const entries = keys.map(([, table, key], i) => [table, key, values[i]]);
    return { entries, version: version ?? 0 };
  }

  /** Makes changes to what `version` was; gives the version after. Throws with the code `conflict` or `full`. */
  commit(changes, version) {
    return new Promise((resolve, reject) => {
      const transaction = this.#database.transaction([ENTRIES, VERSIONS], "readwrite", { durability: "strict" });
      const [entries, versions] = [ENTRIES, VERSIONS].map((name) => transaction.objectStore(name));
      let conflict = false;
      transaction.oncomplete = () => resolve(version + 1);
      transaction.onabort = () => reject(conflict ? failure("another tab learned something meanwhile", CONFLICT) : refused(transaction.error));
      const asked = versions.get(this.#model);
      asked.onsuccess = () => {
        if ((asked.result ?? 0) !== version) {
          conflict = true;
          return transaction.abort();
        }
        for (const [table, key, bytes] of changes) {
          if (key === undefined) entries.delete(this.#range(table));
          else if (bytes === undefined) entries.delete([this.#model, table, key]);
          else entries.put(bytes, [this.#model, table, key]);
        }
        versions.put(version + 1, this.#model);
      };
    });
  }

  /** All keys of this model's, or of one of its tables. */
  #range(...table) {
    const from = [this.#model, ...table];
    return IDBKeyRange.bound(from, [...from, []]);
  }
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(refused(request.error));
    request.onblocked = () => reject(failure("another tab with an older version of this page is open: close it", "lessons"));
  });
}

function refused(error) {
  const full = error?.name === "QuotaExceededError";
  return full
    ? failure("There is no room on this device to keep that; nothing was changed.", "full")
    : failure(`This browser could not keep that; nothing was changed. (${error?.name}: ${error?.message})`, "lessons");
}

function failure(message, code) {
  return Object.assign(new Error(message), { code });
}
