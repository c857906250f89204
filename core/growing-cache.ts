/**
 * A cache of at most `max` values, least recently used first, that takes memory as it fills. An LRUCache with `max` reserves memory
 * for all of its values at once, which costs more than a whole view of the past that looks up one path.
 */
import { LRUCache } from 'lru-cache'

export const growingCache = <K extends {}, V extends {}>(max: number): LRUCache<K, V> =>
  new LRUCache<K, V>({ maxSize: max, sizeCalculation: () => 1 })
