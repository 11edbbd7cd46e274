// The page without a network, and newer versions of it.

/** Registers the service worker; `banner(text, action, run)` offers a newer version. */
export async function offline(banner) {
  if (!("serviceWorker" in navigator)) return;
  const { serviceWorker } = navigator;
  // The first version takes the page over without a word; a later one only when it was asked to.
  let asked = false;
  serviceWorker.addEventListener("controllerchange", () => asked && location.reload());
  const offer = (worker) => {
    if (!worker || !serviceWorker.controller) return;
    banner("A newer version of this page is here.", "Use it", () => {
      asked = true;
      worker.postMessage("take over");
    });
  };
  try {
    const registration = await serviceWorker.register("sw.js", { updateViaCache: "none" });
    offer(registration.waiting);
    registration.addEventListener("updatefound", () => {
      const worker = registration.installing;
      worker.addEventListener("statechange", () => worker.state === "installed" && offer(worker));
    });
  } catch {
    // A private window may refuse; the page works, with the network.
  }
}
