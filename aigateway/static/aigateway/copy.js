"use strict";

// Buttons that copy a field. The clipboard needs a secure page (https or loopback); elsewhere the text is selected to be copied by hand.
for (const button of document.querySelectorAll("button[data-copies]")) {
  const field = document.getElementById(button.dataset.copies);
  button.hidden = false;
  button.addEventListener("click", async () => {
    field.select();
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(field.value);
      button.textContent = "Copied";
    }
  });
}
