/* Search on a page that was opened from a disk: browsers start no worker from file:, so the same script runs in a hidden frame instead. */
(() => {
  if (location.protocol !== "file:") return
  window.Worker = class extends EventTarget {
    constructor(address) {
      super()
      this.onmessage = this.onerror = this.onmessageerror = null
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.frame.title = "search"
      document.body.append(this.frame)
      const inside = this.frame.contentWindow
      inside.postMessage = (data) => this.tell("message", { data: structuredClone(data) })
      const script = inside.document.createElement("script")
      script.src = new URL(address, location.href).href
      this.ready = new Promise((started) => { script.onload = started })
      script.onerror = () => this.tell("error", {})
      inside.document.body.append(script)
    }
    tell(kind, values) {
      const event = new MessageEvent(kind, values)
      this["on" + kind]?.(event)
      this.dispatchEvent(event)
    }
    postMessage(sent) {
      const data = structuredClone(sent)  // as between a page and its worker: neither changes what the other has
      clearTimeout(this.waiting)  // the frame shares the page's thread: who types is waited for
      const tell = () => this.ready.then(() => {
        const inside = this.frame.contentWindow
        if (inside) inside.dispatchEvent(new inside.MessageEvent("message", { data }))
      })
      if (this.begun) this.waiting = setTimeout(tell, 200)
      else tell()
      this.begun = true
    }
    terminate() { this.frame.remove() }
  }
})()
