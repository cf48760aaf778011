// ZIP files without compression (APPNOTE.TXT 6.3.10 of PKWARE, without its 64-bit form).

/** Records: local header 4.3.7, entry of the central directory 4.3.12, end of it 4.3.16. */
const LOCAL = { signature: 0x04034b50, bytes: 30 };
const CENTRAL = { signature: 0x02014b50, bytes: 46 };
const END = { signature: 0x06054b50, bytes: 22 };
/** Version needed: 2.0. */
const VERSION = 20;
/** Names are UTF-8: bit 11. */
const FLAGS = 1 << 11;
/** Largest numbers of files and bytes that the 32-bit form can state. */
const MAX_FILES = 0xffff;
const MAX_BYTES = 0xffff_ffff;

/** Reflected polynomial of CRC-32. */
const POLYNOMIAL = 0xedb88320;
const CRC_TABLE = crcTable();

function crcTable() {
  const table = new Uint32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    table[byte] = crc;
  }
  return table;
}

/** @param {Uint8Array} content */
function crc32(content) {
  let crc = 0xffff_ffff;
  for (const byte of content) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 255];
  return (crc ^ 0xffff_ffff) >>> 0;
}

/** Time and date of MS-DOS, two seconds fine. @param {Date} date */
function dosTime(date) {
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  const day = ((date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate();
  return { time, day };
}

/**
 * A ZIP of files.
 * @param {{ name: string, content: Blob }[]} files with names that differ; folders by slashes
 * @returns {Promise<Blob>}
 */
export async function zipFiles(files) {
  const total = files.reduce((sum, { content }) => sum + content.size, 0);
  if (files.length > MAX_FILES || total > MAX_BYTES * 0.99) {
    throw new Error("The results are larger than 4 GB, the limit of a ZIP file. Save fewer files.");
  }
  const { time, day } = dosTime(new Date());
  /** @type {BlobPart[]} */
  const parts = [];
  /** @type {BlobPart[]} */
  const directory = [];
  let offset = 0;
  let directoryBytes = 0;
  for (const { name, content } of files) {
    const nameBytes = new TextEncoder().encode(name);
    const crc = crc32(new Uint8Array(await content.arrayBuffer()));
    // What both records hold, from the version that is needed to the length of the extra field.
    const common = new DataView(new ArrayBuffer(26));
    common.setUint16(0, VERSION, true);
    common.setUint16(2, FLAGS, true);
    common.setUint16(6, time, true);
    common.setUint16(8, day, true);
    common.setUint32(10, crc, true);
    common.setUint32(14, content.size, true);
    common.setUint32(18, content.size, true);
    common.setUint16(22, nameBytes.length, true);
    const local = new DataView(new ArrayBuffer(4));
    local.setUint32(0, LOCAL.signature, true);
    parts.push(local, common, nameBytes, content);
    const central = new DataView(new ArrayBuffer(6));
    central.setUint32(0, CENTRAL.signature, true);
    central.setUint16(4, VERSION, true);
    // Comment, disk and attributes are 0; then comes the offset of the local header.
    const rest = new DataView(new ArrayBuffer(14));
    rest.setUint32(10, offset, true);
    directory.push(central, common, rest, nameBytes);
    directoryBytes += CENTRAL.bytes + nameBytes.length;
    offset += LOCAL.bytes + nameBytes.length + content.size;
  }
  const end = new DataView(new ArrayBuffer(END.bytes));
  end.setUint32(0, END.signature, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, directoryBytes, true);
  end.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
