"use strict";
// The token is behind the #, so that it is in no server's log. The user's id is its first 16 bytes.
const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);

function userId(token) {
  const bytes = atob(token.replaceAll("-", "+").replaceAll("_", "/")).slice(0, 16);
  const hex = Array.from(bytes, (byte) => byte.charCodeAt(0).toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

async function verify() {
  const answer = await fetch(`/v1/users/${userId(token)}/verification`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token }),
  });
  if (answer.ok) return "Thank you: your e-mail is verified.";
  const problem = await answer.json();
  return `${problem.title}. ${problem.detail}`;
}

verify()
  .catch(() => "This is no link of ours. Please open it as it was mailed.")
  .then((text) => {
    document.getElementById("said").textContent = text;
  });
