/** The user and group of this process: owner of what it makes where nothing else names one. */
export const processOwner = (): { readonly uid: number; readonly gid: number } => ({
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
})

/** Whether this process may do what only root may. */
export const isRoot = (): boolean => processOwner().uid === 0
