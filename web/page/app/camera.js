// A picture from the camera: a dialog with a viewfinder.

import { $ } from "./dom.js";
import { why } from "./recorder.js";

/** Opens the dialog. Gives the picture as a PNG file, or null. */
export async function takePicture() {
  const [dialog, video] = [$("camera"), $("viewfinder")];
  let stream = null;
  let picture = null;
  $("camera-problem").textContent = "";
  $("shoot").disabled = true;
  const closed = new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  $("camera-close").onclick = () => dialog.close();
  $("shoot").onclick = async () => {
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    picture = new File([await canvas.convertToBlob()], "camera.png", { type: "image/png" });
    dialog.close();
  };
  dialog.showModal();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    video.srcObject = stream;
    await video.play();
    $("shoot").disabled = !dialog.open;
    $("shoot").focus();
  } catch (error) {
    $("camera-problem").textContent = why(error, "camera");
  }
  await closed;
  stream?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
  return picture;
}
