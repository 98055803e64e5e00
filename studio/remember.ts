/** What is remembered of the page, by the browser or for as long as its tab lives; nothing where the browser refuses. */

type Keeper = "browser" | "tab";

const storageOf = (keeper: Keeper): Storage => (keeper === "tab" ? sessionStorage : localStorage);

export function remembered<T>(key: string, fallback: T, keeper: Keeper = "browser"): T {
  try {
    return (JSON.parse(storageOf(keeper).getItem(`koala-${key}`) ?? "null") as T | null) ?? fallback;
  } catch {
    return fallback;
  }
}

export function remember(key: string, value: unknown, keeper: Keeper = "browser"): void {
  try {
    storageOf(keeper).setItem(`koala-${key}`, JSON.stringify(value));
  } catch {
    // private windows refuse: the page then forgets, and works
  }
}
