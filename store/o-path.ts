/** An open(2) flag missing in Node: a descriptor of the file itself, neither readable nor writable. Opening asks nothing of the filesystem. */
export const O_PATH = 0o10_000_000
