// The bar that says what of the open image is kept on this device, with what can be done about it.
import { elements } from "./elements.js";

/**
 * Shows a sentence and a button in place of what the bar shows.
 * @param {string} sentence
 * @param {{ text: string, run: () => unknown }} [action]
 */
export function showStorageBar(sentence, action) {
  const { storageBar, storageText, storageAction } = elements;
  storageText.textContent = sentence;
  storageAction.hidden = !action;
  if (action) {
    storageAction.textContent = action.text;
    storageAction.onclick = () => {
      hideStorageBar();
      void action.run();
    };
  }
  elements.storageClose.onclick = hideStorageBar;
  storageBar.hidden = false;
}

export function hideStorageBar() {
  const { storageBar, canvas } = elements;
  const hadFocus = storageBar.contains(document.activeElement);
  storageBar.hidden = true;
  if (hadFocus) document.getElementById(canvas.id)?.focus();
}
