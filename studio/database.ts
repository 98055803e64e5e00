/** IndexedDB by promises. */

export const asked = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** Until what a request has written is kept: a full storage may say so only at the end. */
export const committed = (request: IDBRequest): Promise<void> =>
  new Promise((resolve, reject) => {
    const { transaction } = request;
    transaction?.addEventListener("complete", () => resolve());
    transaction?.addEventListener("abort", () => reject(transaction.error ?? request.error));
  });

/** A database of one store; null where the browser keeps none. */
export async function openDatabase(
  name: string,
  store: string,
  o?: IDBObjectStoreParameters,
): Promise<IDBDatabase | null> {
  try {
    const opening = indexedDB.open(name, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(store, o);
    return await asked(opening);
  } catch {
    return null; // private windows of some browsers have none
  }
}
