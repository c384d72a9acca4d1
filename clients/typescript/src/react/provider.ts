/**
 * Which client the hooks of a tree use: that of the nearest `LiveProvider`, else the page's own, which is made when
 * the first hook is mounted, so never on a server. Hooks of the same client share its watches, below any provider.
 */
import { type ReactElement, type ReactNode, createContext, createElement, useContext } from "react";
import { type Client, restive } from "../index.js";
import { Watches } from "./watches.js";

/** What the hooks of one client share. */
export interface Shared {
  readonly _client: () => Client;
  readonly _watches: Watches;
}

/** What `LiveProvider` takes. */
export interface LiveProviderProps {
  /** Made once, outside of components. It is not closed with them. */
  client: Client;
  children?: ReactNode;
}

const shareOf = (client: () => Client): Shared => ({ _client: client, _watches: new Watches(client) });

let own: Client | undefined;
const Sharing = createContext(shareOf(() => (own ??= restive())));
const shares = new WeakMap<Client, Shared>();

/** The hooks of `children` use `client`. */
export function LiveProvider({ client, children }: LiveProviderProps): ReactElement {
  let value = shares.get(client);
  if (!value) shares.set(client, (value = shareOf(() => client)));
  return createElement(Sharing.Provider, { value }, children);
}

/** What the hooks of this component's client share. */
export const useShared = (): Shared => useContext(Sharing);
