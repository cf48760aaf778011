// Errors as text.

/** @param {unknown} error */
export function messageOf(error) {
  const message = error instanceof Error ? error.message : String(error);
  // Options of the command line are not the page's.
  return message.replaceAll(" (--mpp)", "");
}
