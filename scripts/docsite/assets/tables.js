/* A table that is wider than the screen is scrolled by the keyboard too. */
(() => {
  const reach = () => {
    for (const wrap of document.querySelectorAll(".md-typeset__scrollwrap")) {
      if (wrap.scrollWidth > wrap.clientWidth) wrap.tabIndex = 0
      else wrap.removeAttribute("tabindex")
    }
  }
  addEventListener("load", () => setTimeout(reach))
  addEventListener("resize", reach)
})()
