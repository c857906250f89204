export const ZBLK_FORMATS = ['auto', 'zblk0', 'zblk1'] as const

/** How blocks are stored: 'auto' chooses per block. */
export type ZBlkFormat = (typeof ZBLK_FORMATS)[number]
