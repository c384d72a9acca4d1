/** A page of the recipe for Vue: a component that can be taken away. */
import { createApp, defineComponent, h, ref } from "vue";
import { useLive } from "./use-live.js";

const url = ref("/document");
const there = ref(true);

const Shown = defineComponent(() => {
  const { data, error } = useLive<{ n: number }>(url);
  return () => h("p", { id: "shown" }, error.value?.name ?? data.value?.n);
});

createApp(() => [
  there.value && h(Shown),
  h("button", { onClick: () => (url.value = "/nothing") }, "Elsewhere"),
  h("button", { onClick: () => (there.value = false) }, "Away"),
]).mount("#root");
