
const state = document.querySelector('#state');
const show = (status, text) => { state.className = status; state.textContent = text; };
const look = async () => {
  try {
    const answer = await fetch('readyz', { cache: 'no-store' });
    const body = await answer.json();
    if (!answer.ok) show('not_ready', `Not ready: ${body.detail}`);
    else if (body.status === 'ready') show('ready', 'Running, and ready for requests.');
    else show('degraded', 'Running, but writes are rejected.');
  } catch {
    show('not_ready', 'No answer: Doorward does not run, or the network is down.');
  }
};
setInterval(look, 5000);
