// Numbers of the session's result slots, as `Session.begin` takes them.

/** Result of the selected model. */
export const MAIN = 0;
/** Result of the unpruned model, for comparison. */
export const COMPARISON = 1;
/** In the preview window: result of a pruned model and of the model it is compared with. */
export const PREVIEW = 2;
export const PREVIEW_REFERENCE = 3;
