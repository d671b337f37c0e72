"use strict";
// The token is in the fragment (after #), because browsers do not send it and no server logs it. Its first 16 bytes
// are the id of the user.
const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);

function userId(token) {
  const bytes = atob(token.replaceAll("-", "+").replaceAll("_", "/")).slice(0, 16);
  const hex = Array.from(bytes, (byte) => byte.charCodeAt(0).toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

async function verify() {
  const response = await fetch(`/v1/users/${userId(token)}/verification`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token }),
  });
  if (response.ok) return "Thank you. Your e-mail address is verified.";
  const problem = await response.json();
  return `${problem.title}. ${problem.detail}`;
}

verify()
  .catch(() => "This link is incomplete or damaged. Open it exactly as it appears in the e-mail.")
  .then((text) => {
    document.getElementById("result").textContent = text;
  });
