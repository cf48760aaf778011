// Tiles show neither outlines nor a selection: both are drawn over them, see outline-canvas.js.
export const NO_OUTLINE = 0;
export const NO_SELECTION = 0;
