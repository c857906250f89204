/** The user and group of this process, the default owner of what it creates. */
export const processOwner = (): { readonly uid: number; readonly gid: number } => ({
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
})

/** Whether this process runs as root. */
export const isRoot = (): boolean => processOwner().uid === 0
