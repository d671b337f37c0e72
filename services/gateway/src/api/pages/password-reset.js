"use strict";
// The token is in the fragment (after #), because browsers do not send it and no server logs it.
const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);

async function reset(password) {
  const response = await fetch(`/v1/password-resets/${encodeURIComponent(token)}`, {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ password }),
  });
  if (response.ok) {
    document.getElementById("form").remove();
    return "Your password has been changed. You can now sign in with it.";
  }
  const problem = await response.json();
  const messages = (problem.errors ?? []).map((error) => error.message);
  return [`${problem.title}.`, ...messages, problem.errors ? "" : problem.detail].join(" ");
}

document.getElementById("form").addEventListener("submit", (event) => {
  event.preventDefault();
  reset(document.getElementById("password").value)
    .catch(() => "The request failed. Check your connection and try again.")
    .then((text) => {
      document.getElementById("result").textContent = text;
    });
});
