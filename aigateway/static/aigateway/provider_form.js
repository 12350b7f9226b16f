"use strict";

// Fills the base URL from the kind, as long as nobody typed another one.
document.addEventListener("DOMContentLoaded", () => {
  const kind = document.querySelector("select[data-base-urls]");
  const baseUrl = document.querySelector("#id_base_url");
  if (!kind || !baseUrl) {
    return;
  }
  const known = JSON.parse(kind.dataset.baseUrls);
  const follow = () => {
    const typed = baseUrl.value !== "" && !Object.values(known).includes(baseUrl.value);
    if (!typed) {
      baseUrl.value = known[kind.value] || "";
    }
    baseUrl.placeholder = known[kind.value] || "https://host.example/v1";
  };
  kind.addEventListener("change", follow);
  if (baseUrl.value === "") {
    follow();
  }
});
