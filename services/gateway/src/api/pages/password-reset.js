"use strict";
// The token is behind the #, so that it is in no server's log.
const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);

async function reset(password) {
  const answer = await fetch(`/v1/password-resets/${encodeURIComponent(token)}`, {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ password }),
  });
  if (answer.ok) {
    document.getElementById("form").remove();
    return "Done: sign in with your new password.";
  }
  const problem = await answer.json();
  const faults = (problem.errors ?? []).map((error) => error.message);
  return [`${problem.title}.`, ...faults, problem.errors ? "" : problem.detail].join(" ");
}

document.getElementById("form").addEventListener("submit", (event) => {
  event.preventDefault();
  reset(document.getElementById("password").value)
    .catch(() => "That did not work. Please try again.")
    .then((text) => {
      document.getElementById("said").textContent = text;
    });
});
