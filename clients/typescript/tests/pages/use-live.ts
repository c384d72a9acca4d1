import { type Ref, onUnmounted, ref, shallowRef, watch } from "vue";
import { restive } from "restive";

const live = restive();

/** The latest state of a URL, in a component; the URL may be a ref. */
export function useLive<T>(url: string | Ref<string>) {
  const data = shallowRef<T>();
  const error = shallowRef<Error>();
  let stop = () => {};
  const begin = (target: string) => {
    stop();
    data.value = error.value = undefined;
    stop = live.watch<T>(target, (state) => (data.value = state), {
      onError: (reason) => (error.value = reason),
    });
  };
  watch(ref(url), begin, { immediate: true });
  onUnmounted(() => stop());
  return { data, error };
}
