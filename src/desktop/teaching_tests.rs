//! Teaching without a window, by commands.
