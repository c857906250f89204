/** The colours of the style sheet, for what is drawn on a canvas: those of the current scheme, light or dark. */
import { useEffect, useState } from 'preact/hooks'

const DARK = matchMedia('(prefers-color-scheme: dark)')

/** The value of a custom property that is a colour, as rgb(). */
export function colour(name: string): string {
  const probe = document.createElement('span')
  probe.style.color = `var(--${name})`
  document.body.append(probe)
  const { color } = getComputedStyle(probe)
  probe.remove()
  return color
}

/** Whether the scheme is dark; a component that uses it is drawn again when that changes. */
export function useIsDark(): boolean {
  const [isDark, setIsDark] = useState(DARK.matches)
  useEffect(() => {
    const update = (): void => setIsDark(DARK.matches)
    DARK.addEventListener('change', update)
    return () => DARK.removeEventListener('change', update)
  }, [])
  return isDark
}
