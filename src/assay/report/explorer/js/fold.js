// Texts as search compares them, and blocks of transcripts unpacked. The page and its worker both have this file.
//
//   fold("Ｓecret\u200b 4７") === "secret 47"
//   await searched(packed, fold("secret"))       // places in the block, of the transcripts that hold it

const ASCII = /^[\x00-\x7f]*$/;
const BREAKS = /[\n\t\r]/g;
let away = null;

// What is invisible, and digits that are not western ones, as one class without the flag `u`, which is what makes it quick.
function awayPattern() {
  if (away) return away;
  const values = new Map([["ß", "ss"], ["ς", "σ"]]);
  let members = "ßς";
  let zero = 0;
  for (let code = 0x80; code < 0x10000; code++) {
    const char = String.fromCharCode(code);
    const isDigit = /\p{Nd}/u.test(char);
    if (!isDigit && !/\p{DI}/u.test(char)) continue;
    if (isDigit && !values.has(String.fromCharCode(code - 1))) zero = code;
    values.set(char, isDigit ? String((code - zero) % 10) : "");
    members += char;
  }
  away = { pattern: new RegExp(`[${members}]|\\udb40[\\udc00-\\udfff]`, "g"), value: (char) => values.get(char) ?? "" };
  return away;
}

// NFKC, lower case, western digits, nothing invisible, line breaks as spaces.
function fold(text) {
  if (ASCII.test(text)) return text.toLowerCase().replace(BREAKS, " ");
  const { pattern, value } = awayPattern();
  return text.normalize("NFKC").toLowerCase().replace(BREAKS, " ").replace(pattern, value);
}

async function unpack(packed) {
  let bytes;
  if (Uint8Array.fromBase64) {
    bytes = Uint8Array.fromBase64(packed);
  } else {
    const text = atob(packed);
    bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  }
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function unpackBlock(packed) {
  return JSON.parse(new TextDecoder().decode(await unpack(packed)));
}

async function searched(packed, needle) {
  const block = await unpackBlock(packed);
  const known = new Map();
  const holds = (place) => {
    let found = known.get(place);
    if (found === undefined) known.set(place, (found = fold(block.s[place]).includes(needle)));
    return found;
  };
  const hits = [];
  block.t.forEach((trial, at) => {
    if (trial.m.some((line) => holds(line[1])) || (trial.p || []).some(holds)) hits.push(at);
  });
  return hits;
}
