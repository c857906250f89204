/** A result or a promise of it: what is local answers without a turn of the event loop. */
export type Awaitable<T> = T | Promise<T>
