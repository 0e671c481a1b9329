// Searches one block at a time; the page decides which, and stops by sending no more.

onmessage = async (event) => {
  const { run, block, packed, needle } = event.data;
  try {
    postMessage({ run, block, hits: await searched(packed, needle) });
  } catch (error) {
    postMessage({ run, block, hits: [], failed: String(error) });
  }
};
