// What must not be lost, kept in the browser: in localStorage at once, and in IndexedDB with strict durability, which survives a kill.
//
//   const keep = await openKeep("assay:1f2e:Aisyah:");
//   await keep.set("draft:41", {...});       // resolved when it is on the disk
//   keep.get("draft:41");
//
// Where both have a key, the later one wins. A value removed may come back after a crash; what is kept here is safe to see twice.

const DATABASE = "assay-label";
let last = 0;

function stamp() {
  last = Math.max(Date.now(), last + 1);
  return last;
}

function database() {
  return new Promise((resolve) => {
    try {
      const asked = indexedDB.open(DATABASE, 1);
      asked.onupgradeneeded = () => asked.result.createObjectStore("kept");
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => resolve(null);
      asked.onblocked = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
}

function transaction(db, mode, work) {
  return new Promise((resolve, reject) => {
    const held = db.transaction("kept", mode, { durability: "strict" });
    const asked = work(held.objectStore("kept"));
    held.oncomplete = () => resolve(asked?.result);
    held.onerror = held.onabort = () => reject(held.error);
  });
}

export async function openKeep(prefix) {
  const db = await database();
  const values = new Map();
  const take = (key, entry) => {
    if (entry && typeof entry.at === "number" && !(values.get(key)?.at > entry.at)) values.set(key, entry);
  };
  if (db) {
    const range = IDBKeyRange.bound(prefix, `${prefix}\uffff`);
    const keys = (await transaction(db, "readonly", (s) => s.getAllKeys(range)).catch(() => [])) || [];
    const found = (await transaction(db, "readonly", (s) => s.getAll(range)).catch(() => [])) || [];
    keys.forEach((key, i) => take(key.slice(prefix.length), found[i]));
  }
  try {
    for (let i = 0; i < localStorage.length; i++) {
      const key = localStorage.key(i);
      if (key.startsWith(prefix)) take(key.slice(prefix.length), JSON.parse(localStorage.getItem(key)));
    }
  } catch {
    // no localStorage here, or a value that is not ours: IndexedDB has it
  }
  return {
    get: (key) => values.get(key)?.value,
    at: (key) => values.get(key)?.at ?? 0,
    keys: (start) => [...values.keys()].filter((k) => k.startsWith(start)).sort(),
    async set(key, value) {
      const entry = { at: stamp(), value };
      values.set(key, entry);
      try {
        localStorage.setItem(prefix + key, JSON.stringify(entry));
      } catch {
        localStorage.removeItem(prefix + key); // full: an older value must not come back
      }
      if (db) await transaction(db, "readwrite", (s) => s.put(entry, prefix + key)).catch(() => undefined);
    },
    async remove(key) {
      values.delete(key);
      try {
        localStorage.removeItem(prefix + key);
      } catch {
        // none here
      }
      if (db) await transaction(db, "readwrite", (s) => s.delete(prefix + key)).catch(() => undefined);
    },
  };
}
