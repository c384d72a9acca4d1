/** State of a component that belongs to something else, such as to the URL that it shows. */
import { useCallback, useState } from "react";

/**
 * As `useState`, but with another `owner` it begins anew at once with `first`, and changes that come late for an
 * earlier owner are dropped. A change that returns what it was given renders nothing.
 */
export function useStateOf<V>(owner: object, first: V): [V, (change: (before: V) => V) => void] {
  const [state, setState] = useState({ _owner: owner, _value: first });
  const own = state._owner === owner;
  if (!own) setState({ _owner: owner, _value: first });
  const change = useCallback(
    (next: (before: V) => V) =>
      setState((before) => {
        const value = before._owner === owner ? next(before._value) : before._value;
        return value === before._value ? before : { _owner: owner, _value: value };
      }),
    [owner],
  );
  return [own ? state._value : first, change];
}
