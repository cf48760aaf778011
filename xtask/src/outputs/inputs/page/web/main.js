import init from "./prunella.js";
init();
