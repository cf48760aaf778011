// Statuses of objects, by the numbers that the session gives them.
export const STATUS_NAMES = ["model", "accepted", "added", "rejected", "older"];
export const OF_MODEL = 0;
export const ACCEPTED = 1;
export const ADDED = 2;
export const REJECTED = 3;
export const OLDER = 4;
